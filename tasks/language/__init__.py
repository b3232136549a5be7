"""What retrieval, captioning and questions share: one text side for every encoder, and its training (sections 6 to 9).

An encoder of any make takes the place of KLIP's image tower; reading, matching and writing are KLIP's own parts, so a
vision-only encoder is asked the same as a model that brings a text side along. Where the text side starts is declared
(`init_text`) and recorded.
"""

"""SCIO: finds segments that the image speaks against, and writes them anew (section 6 of the KLIP specification).

`score` asks the model, `decide` and `guard` turn numbers into decisions, `rebuild` and `accept` write and test new
values, `audit_log` keeps every number, `passes` and `reconstruction` run it resumably over a corpus, and `report` tells
what came of it. What only works on numbers (`decide`, `guard`, `decisions`, `audit_log`, `report`) imports no torch:
decisions can be taken again, with other margins, wherever the log lies.
"""

"""Pre-training of KLIP: its objective for the loop of `klip.training`, and the time line of SCIO around it.

What is trained stands in `klip.model`, how segments are judged in `klip.scio`; here they meet a corpus. Fine-tuning and
benchmarks do not enter.
"""

"""The KLIP model: image tower, one BERT stack in three modes, momentum twins and the queue (sections 2 and 5)."""

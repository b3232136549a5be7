"""Detection: Faster R-CNN with ViTDet's pyramid on any encoder (section 4 of the task specification).

Network, data, training and scoring stand in modules of their own; importing the package imports none of them. What
happens before a box is learned or after it is scored (readers, metrics) stays outside.
"""

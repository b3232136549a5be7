"""mmdet and mmsegmentation beside our own detection and segmentation: their heads on our encoders.

Two uses: every model of the catalogue as a backbone in anybody's OpenMMLab configuration, and the same protocol, data
and splits through their networks as a cross-check of ours. Nothing else needs this package, importing it imports
nothing of theirs, and what mends them (the stand-in for their compiled operators) stays in here.
"""

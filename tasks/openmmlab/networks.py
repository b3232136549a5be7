"""The networks of mmdet and mmseg under the settings of our protocol, as the configurations that build them.

Pure functions of the settings: nothing of theirs is imported to write a configuration down. The example
configurations show the same values written out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tasks.detection.pyramid import COARSEST_REGION_STRIDE, Level
from tasks.protocol.settings import DetectionSettings, SegmentationSettings

Config = dict[str, Any]

FINEST_SCALE = 14
"""A box of this many cells of the finest level is where the second level begins: 56 pixels at stride 4, by which both
mmdet and torchvision choose the level."""
_ANY_OVERLAP = 1e-6  # at 0, mmdet makes all anchors positive that a target without a near one does not touch
PLAIN_DELTAS = {"target_means": [0.0, 0.0, 0.0, 0.0], "target_stds": [1.0, 1.0, 1.0, 1.0]}


def detector_config(
    settings: DetectionSettings,
    *,
    classes: int,
    levels: Sequence[Level],
    backbone: Config | Callable[[], Any],
    norm: Config,
) -> Config:
    """Faster R-CNN of section 4.1 with mmdet's heads over the levels of a backbone.

    Args:
        settings: The protocol's.
        classes: How many, background not counted.
        levels: That the backbone answers with.
        backbone: A configuration, or what makes the module itself.
        norm: Layer norm over the channels of a map, for the convolutions of the box head.
    """
    channels = settings.pyramid_channels
    read = [level for level in levels if level.stride <= COARSEST_REGION_STRIDE]
    sides: Config = {}
    if any(level.spacing != level.stride for level in levels):
        # Patches of 14 pixels: centres stand by the true spacing, sides follow the nominal stride, as ours do.
        sides = {"base_sizes": [level.stride for level in levels]}
    return {
        "type": "mmdet.FasterRCNN",
        "backbone": {"type": backbone} if callable(backbone) else backbone,
        "neck": None,
        "rpn_head": {
            "type": "mmdet.RPNHead",
            "in_channels": channels,
            "feat_channels": channels,
            "num_convs": settings.rpn_convolutions,
            "anchor_generator": {
                "type": "mmdet.AnchorGenerator",
                "scales": [settings.anchor_scale],
                "ratios": list(settings.anchor_ratios),
                "strides": [level.spacing for level in levels],
                **sides,
            },
            "bbox_coder": {"type": "mmdet.DeltaXYWHBBoxCoder", **PLAIN_DELTAS},
            "loss_cls": {"type": "mmdet.CrossEntropyLoss", "use_sigmoid": True, "loss_weight": 1.0},
            "loss_bbox": {"type": "mmdet.L1Loss", "loss_weight": 1.0},
        },
        "roi_head": {
            "type": "mmdet.StandardRoIHead",
            "bbox_roi_extractor": {
                "type": "mmdet.SingleRoIExtractor",
                "roi_layer": {"type": "RoIAlign", "output_size": settings.roi_size, "sampling_ratio": 0},
                "out_channels": channels,
                "featmap_strides": [level.spacing for level in read],
                "finest_scale": FINEST_SCALE * read[0].stride,
            },
            "bbox_head": _box_head(settings, classes, norm),
        },
        "train_cfg": _training(settings),
        "test_cfg": {
            "rpn": _proposals(settings.rpn_proposals_test, settings.rpn_suppression_iou),
            "rcnn": {
                "score_thr": settings.test_score,
                "nms": {"type": "nms", "iou_threshold": settings.test_suppression_iou},
                "max_per_img": settings.test_detections,
            },
        },
    }


def segmenter_config(
    settings: SegmentationSettings,
    *,
    classes: int,
    width: int,
    heads: int,
    backbone: Config | Callable[[], Any],
    drop_path: float = 0.0,
) -> Config:
    """Segmenter of section 5.1 with mmseg's mask transformer over the tokens of a backbone.

    The loss is the mean over valid pixels. mmseg's own default divides by all pixels, ignored ones included, which
    would let a tile's unlabelled part decide how much its labelled part counts.
    """
    return {
        "type": "mmseg.EncoderDecoder",
        "backbone": {"type": backbone} if callable(backbone) else backbone,
        "decode_head": {
            "type": "mmseg.SegmenterMaskTransformerHead",
            "in_channels": width,
            "channels": width,
            "num_classes": classes,
            "num_layers": settings.decoder_blocks,
            "num_heads": heads,
            "embed_dims": width,
            "dropout_ratio": 0.0,
            "drop_rate": settings.decoder_dropout,
            "drop_path_rate": drop_path,
            "ignore_index": settings.ignore_label,
            "align_corners": False,
            "loss_decode": {
                "type": "mmseg.CrossEntropyLoss",
                "use_sigmoid": False,
                "avg_non_ignore": True,
                "loss_weight": 1.0,
            },
        },
        "test_cfg": {
            "mode": "slide",
            "crop_size": [settings.tile, settings.tile],
            "stride": [settings.stride, settings.stride],
        },
    }


def _box_head(settings: DetectionSettings, classes: int, norm: Config) -> Config:
    return {
        "type": "mmdet.ConvFCBBoxHead",
        "num_shared_convs": settings.roi_convolutions,
        "num_shared_fcs": 1,
        "in_channels": settings.pyramid_channels,
        "conv_out_channels": settings.pyramid_channels,
        "fc_out_channels": settings.roi_hidden,
        "roi_feat_size": settings.roi_size,
        "num_classes": classes,
        "norm_cfg": norm,
        "reg_class_agnostic": False,
        "bbox_coder": {
            "type": "mmdet.DeltaXYWHBBoxCoder",
            "target_means": [0.0, 0.0, 0.0, 0.0],
            "target_stds": list(settings.roi_delta_scale),
        },
        "loss_cls": {"type": "mmdet.CrossEntropyLoss", "use_sigmoid": False, "loss_weight": 1.0},
        "loss_bbox": {"type": "mmdet.L1Loss", "loss_weight": 1.0},
    }


def _training(settings: DetectionSettings) -> Config:
    positive = settings.roi_positive_iou
    return {
        "rpn": {
            "assigner": {
                "type": "mmdet.MaxIoUAssigner",
                "pos_iou_thr": settings.rpn_positive_iou,
                "neg_iou_thr": settings.rpn_negative_iou,
                "min_pos_iou": max(settings.rpn_low_quality_iou, _ANY_OVERLAP),
                "match_low_quality": True,
                "ignore_iof_thr": -1,
            },
            "sampler": _sampler(settings.rpn_samples, settings.rpn_positive_share, truth_too=False),
            "allowed_border": -1,
            "pos_weight": -1,
            "debug": False,
        },
        "rpn_proposal": _proposals(settings.rpn_proposals_train, settings.rpn_suppression_iou),
        "rcnn": {
            "assigner": {
                "type": "mmdet.MaxIoUAssigner",
                "pos_iou_thr": positive,
                "neg_iou_thr": positive,
                "min_pos_iou": positive,
                "match_low_quality": False,
                "ignore_iof_thr": -1,
            },
            "sampler": _sampler(settings.roi_samples, settings.roi_positive_share, truth_too=True),
            "pos_weight": -1,
            "debug": False,
        },
    }


def _sampler(number: int, share: float, *, truth_too: bool) -> Config:
    return {
        "type": "mmdet.RandomSampler",
        "num": number,
        "pos_fraction": share,
        "neg_pos_ub": -1,
        "add_gt_as_proposals": truth_too,
    }


def _proposals(numbers: tuple[int, int], iou: float) -> Config:
    before, after = numbers
    return {
        "nms_pre": before,
        "max_per_img": after,
        "nms": {"type": "nms", "iou_threshold": iou},
        "min_bbox_size": 0,
    }

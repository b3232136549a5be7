"""Faster R-CNN on a model of the catalogue, as a configuration of mmdet: the settings of section 4.1, written out.

Copy it, edit the first block, and train it as any configuration of mmdet. Annotations are COCO JSON.
"""

custom_imports = {"imports": ["tasks.openmmlab.registration"], "allow_failed_imports": False}
default_scope = "mmdet"

# ---- what you edit ---------------------------------------------------------------------------------------------------
model_name = "fusar-klip-vit-b-16"  # anything that `--models` takes, as long as it is one model
weights_root = None  # where `harness weights fetch` puts them; or a folder
data_root = "data/aircraft/"  # annotations/instances_{train,test}.json, images/
class_names = ("aircraft",)
image_size = 800
batch = 4  # per process
workers = 4
epochs = 36
milestones = [24, 33]
warmup_epochs = 5
strides = [4, 8, 16, 32, 64]
box_strides = [4, 8, 16, 32]
channels = 256
anchor_scale = 8.0
window = 14
global_blocks = [2, 5, 8, 11]
# ----------------------------------------------------------------------------------------------------------------------

plain_deltas = {"target_means": [0.0, 0.0, 0.0, 0.0], "target_stds": [1.0, 1.0, 1.0, 1.0]}

model = {
    "type": "FasterRCNN",
    "data_preprocessor": {
        "type": "DetDataPreprocessor",
        "mean": [123.675, 116.28, 103.53],
        "std": [58.395, 57.12, 57.375],
        "bgr_to_rgb": True,
        "pad_size_divisor": 1,  # the pipelines pad to the square
    },
    "backbone": {
        "type": "SAREncoder",
        "model": model_name,
        "weights_root": weights_root,
        "image_size": image_size,
        "out": "pyramid",
        "strides": strides,
        "channels": channels,
        "window": window,
        "global_blocks": global_blocks,
        "drop_path": 0.1,
        "frozen": False,
    },
    "neck": None,  # the pyramid is part of the backbone
    "rpn_head": {
        "type": "RPNHead",
        "in_channels": channels,
        "feat_channels": channels,
        "num_convs": 2,
        "anchor_generator": {
            "type": "AnchorGenerator",
            "scales": [anchor_scale],
            "ratios": [0.5, 1.0, 2.0],
            "strides": strides,
        },
        "bbox_coder": {"type": "DeltaXYWHBBoxCoder", **plain_deltas},
        "loss_cls": {"type": "CrossEntropyLoss", "use_sigmoid": True, "loss_weight": 1.0},
        "loss_bbox": {"type": "L1Loss", "loss_weight": 1.0},
    },
    "roi_head": {
        "type": "StandardRoIHead",
        "bbox_roi_extractor": {
            "type": "SingleRoIExtractor",
            "roi_layer": {"type": "RoIAlign", "output_size": 7, "sampling_ratio": 0},
            "out_channels": channels,
            "featmap_strides": box_strides,
            "finest_scale": 56,
        },
        "bbox_head": {
            "type": "ConvFCBBoxHead",
            "num_shared_convs": 4,
            "num_shared_fcs": 1,
            "in_channels": channels,
            "conv_out_channels": channels,
            "fc_out_channels": 1024,
            "roi_feat_size": 7,
            "num_classes": len(class_names),
            "norm_cfg": {"type": "SARChannelNorm", "eps": 1e-6},
            "reg_class_agnostic": False,
            "bbox_coder": {
                "type": "DeltaXYWHBBoxCoder",
                "target_means": [0.0, 0.0, 0.0, 0.0],
                "target_stds": [0.1, 0.1, 0.2, 0.2],
            },
            "loss_cls": {"type": "CrossEntropyLoss", "use_sigmoid": False, "loss_weight": 1.0},
            "loss_bbox": {"type": "L1Loss", "loss_weight": 1.0},
        },
    },
    "train_cfg": {
        "rpn": {
            "assigner": {
                "type": "MaxIoUAssigner",
                "pos_iou_thr": 0.7,
                "neg_iou_thr": 0.3,
                "min_pos_iou": 0.3,
                "match_low_quality": True,
                "ignore_iof_thr": -1,
            },
            "sampler": {
                "type": "RandomSampler",
                "num": 256,
                "pos_fraction": 0.5,
                "neg_pos_ub": -1,
                "add_gt_as_proposals": False,
            },
            "allowed_border": -1,
            "pos_weight": -1,
            "debug": False,
        },
        "rpn_proposal": {
            "nms_pre": 2000,
            "max_per_img": 1000,
            "nms": {"type": "nms", "iou_threshold": 0.7},
            "min_bbox_size": 0,
        },
        "rcnn": {
            "assigner": {
                "type": "MaxIoUAssigner",
                "pos_iou_thr": 0.5,
                "neg_iou_thr": 0.5,
                "min_pos_iou": 0.5,
                "match_low_quality": False,
                "ignore_iof_thr": -1,
            },
            "sampler": {
                "type": "RandomSampler",
                "num": 512,
                "pos_fraction": 0.25,
                "neg_pos_ub": -1,
                "add_gt_as_proposals": True,
            },
            "pos_weight": -1,
            "debug": False,
        },
    },
    "test_cfg": {
        "rpn": {
            "nms_pre": 1000,
            "max_per_img": 1000,
            "nms": {"type": "nms", "iou_threshold": 0.7},
            "min_bbox_size": 0,
        },
        "rcnn": {"score_thr": 0.05, "nms": {"type": "nms", "iou_threshold": 0.5}, "max_per_img": 100},
    },
}

square = (image_size, image_size)
pad = {"type": "Pad", "size": square, "pad_val": {"img": (0, 0, 0)}}
train_pipeline = [
    {"type": "LoadImageFromFile"},
    {"type": "LoadAnnotations", "with_bbox": True},
    {"type": "RandomFlip", "prob": 0.5},
    {"type": "RandomResize", "scale": square, "ratio_range": (0.8, 1.2), "keep_ratio": True},
    {
        "type": "RandomCrop",
        "crop_type": "absolute",
        "crop_size": square,
        "recompute_bbox": True,
        "allow_negative_crop": True,
    },
    {"type": "FilterAnnotations", "min_gt_bbox_wh": (0.01, 0.01), "keep_empty": False},
    pad,
    {"type": "PackDetInputs"},
]
test_pipeline = [
    {"type": "LoadImageFromFile"},
    {"type": "Resize", "scale": square, "keep_ratio": True},
    pad,
    {"type": "LoadAnnotations", "with_bbox": True},
    {"type": "PackDetInputs", "meta_keys": ("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")},
]

train_dataloader = {
    "batch_size": batch,
    "num_workers": workers,
    "sampler": {"type": "DefaultSampler", "shuffle": True},
    "dataset": {
        "type": "CocoDataset",
        "data_root": data_root,
        "ann_file": "annotations/instances_train.json",
        "data_prefix": {"img": "images/"},
        "metainfo": {"classes": class_names},
        "filter_cfg": {"filter_empty_gt": True, "min_size": 32},
        "pipeline": train_pipeline,
    },
}
val_dataloader = {
    "batch_size": 1,
    "num_workers": workers,
    "sampler": {"type": "DefaultSampler", "shuffle": False},
    "dataset": {
        "type": "CocoDataset",
        "data_root": data_root,
        "ann_file": "annotations/instances_test.json",
        "data_prefix": {"img": "images/"},
        "metainfo": {"classes": class_names},
        "test_mode": True,
        "pipeline": test_pipeline,
    },
}
test_dataloader = val_dataloader
val_evaluator = {"type": "CocoMetric", "ann_file": data_root + "annotations/instances_test.json", "metric": "bbox"}
test_evaluator = val_evaluator

train_cfg = {"type": "EpochBasedTrainLoop", "max_epochs": epochs, "val_interval": epochs}
val_cfg = {"type": "ValLoop"}
test_cfg = {"type": "TestLoop"}
optim_wrapper = {
    "type": "OptimWrapper",  # AmpOptimWrapper for mixed precision on a GPU
    "constructor": "SARLayerDecay",
    "paramwise_cfg": {"layer_decay": 0.7, "no_decay": ["class_token", "position", "norm"]},
    "optimizer": {"type": "AdamW", "lr": 1e-4, "betas": (0.9, 0.999), "weight_decay": 0.1},
}
param_scheduler = [
    {"type": "LinearLR", "start_factor": 0.001, "by_epoch": True, "begin": 0, "end": warmup_epochs},
    {"type": "MultiStepLR", "by_epoch": True, "milestones": milestones, "gamma": 0.1},
]

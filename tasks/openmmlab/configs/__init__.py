"""Example configurations of mmdet and mmseg: text for `Config.fromfile` to read, never imported."""

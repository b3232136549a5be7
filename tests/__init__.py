"""The tests mirror the rooms. A package, because mmsegmentation installs one of this name that would hide a folder."""

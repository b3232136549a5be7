"""What every room stands on: errors, atomic files, hashing, names, seeds, progress.

Nothing here knows the field (no SAR, no models, no tasks) and nothing here imports another room.
It stays under 400 lines in all; what grows belongs in the room that needs it.
"""

"""What KLIP learns from: contrast, matching and infilling (section 4 of the KLIP specification)."""

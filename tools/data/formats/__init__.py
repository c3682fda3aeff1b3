"""File formats: NIfTI, DICOM series, npz archives, and their length units."""

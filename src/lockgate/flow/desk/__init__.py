"""The desk: everything a face may ask for, a file for each subject."""

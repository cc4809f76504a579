"""What each page of the crashed system was used for."""

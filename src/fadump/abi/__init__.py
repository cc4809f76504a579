"""What two parties both speak: layouts and codes only, no behaviour."""

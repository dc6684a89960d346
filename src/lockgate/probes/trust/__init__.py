"""What DNS and signatures can prove."""

"""What a buyer sees."""

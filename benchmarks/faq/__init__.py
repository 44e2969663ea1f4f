"""What a FAQ of one's own becomes by the README's one command."""

"""What the paper prints: its numbers beside ours, its arithmetic under audit."""

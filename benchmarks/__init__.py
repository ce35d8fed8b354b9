"""Speed, as ratios against plain PyTorch measured side by side."""

"""What requests change: each resource with its transitions and its begin_, finish_ and fail_ transactions."""

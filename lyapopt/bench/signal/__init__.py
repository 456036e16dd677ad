"""What early numbers say of the final loss, against their cost."""

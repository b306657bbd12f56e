"""What does it cost? The plan of blocks, the switch of arms, CPU and memory of the daemons."""

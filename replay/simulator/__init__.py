"""What a simulation needs that knows no worker: clients, faults to draw, and what must hold.

The live shells on one virtual clock are in `streams/simulated/`, the command in `commands/`.
"""

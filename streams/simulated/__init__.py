"""The real shells on a virtual clock and a broker in memory, for the simulator and crash tests."""

"""`breezeblock up`: starts the API processes and the nodes of one machine, and starts again what dies.

It has no part in the protocol. When it is killed its children die with it, and what they had begun is taken up by the
next ones; when it hangs, nothing stops.
"""

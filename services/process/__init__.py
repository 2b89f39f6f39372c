"""Processes of ours: started, tethered, watched and stopped; and the store that comes with us."""

"""`millstream up`: everything on this machine, supervised, watched, and accounted for at the end."""

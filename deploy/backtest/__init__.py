"""Recorded data through the worker's fold: would the alerts be worth having?"""

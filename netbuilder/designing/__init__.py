"""Designing to a budget: counting many nets of a family fast, choosing among them, scaling one to fit."""

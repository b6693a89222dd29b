"""Designing to a budget: count many nets of a family fast, choose among them, scale one to fit."""

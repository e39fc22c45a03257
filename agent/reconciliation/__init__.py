"""Consumption and stock held against each other: floor, bill of material, ERP and what really lies there. Pure."""

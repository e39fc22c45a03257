"""A stand-in for an Ignition Gateway: it runs the files of `ignition_project/` on a machine without Ignition.

It is not Ignition and proves nothing about one. It knows the component types, bindings, expressions and functions that
our project uses, follows what is documented about them, and stops with a clear error at what it does not know.
"""

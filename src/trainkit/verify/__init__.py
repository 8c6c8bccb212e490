"""Any training command at two revisions: is it bitwise identical, and if not, where does it first differ?"""

"""Commands on finished stores: annotate one, make a smaller one."""

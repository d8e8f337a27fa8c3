"""Published models that compare every word with every region in ways of their own.

- `attention`: what they share;
- `sgraf`: similarity vectors of words and of whole sides, reasoned over (SGR) or filtered (SAF);
- `chan`: each word takes its best region;
- `mlasm`: both directions of attention, and one vector a side made of what each attends to.
"""

"""What a photo may be seen as.

- `table`: ImageNet's classes and what they are kinds of;
- `evidence`: how much each of them speaks for a text.
"""

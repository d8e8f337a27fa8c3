"""The search page and its JSON API: an ASGI application over one warm `Engine` a gallery. It holds no search logic.

galleries   what is served: engines by name, taken up again when their gallery changes
asked       what a request may ask, checked
queue       how many requests work at once, and how many may wait
thumbnails  small copies of photos, kept in a folder of bounded size
uploads     photos that a page searches with, kept in memory of bounded size
safety      which requests are answered at all
metrics     counts and times for Prometheus
openapi     the description of the API
app         routes
server      sockets and the process
"""

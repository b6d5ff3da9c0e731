"""The playground: a page in the browser for people, over the same public API that every client has."""

"""A page and a JSON API for one output: show it a photo, and it says what the photo is like.

`app` has the routes, `answers` what they say, `collection` the published rows and photos, `map` where photos lie,
`limits` what a client may send; `static` is the page.
"""

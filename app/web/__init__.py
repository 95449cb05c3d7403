"""The HTTP toolkit. It knows no feature: a slice hands over operations as data, and everything between the socket and
the slice's own function (parsing, rights, limits, problems, the OpenAPI document) is made from their signatures.
"""

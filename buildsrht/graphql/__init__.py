"""GraphQL: what `POST /query` answers, and what the queries of users' webhooks find.

The schema comes first (schema.graphqls); resolvers are bound to its fields, call one service each
and return rows. There are no rules and no queries here, and nothing of HTTP.

    execution   the way in for those who serve
    engine      a request's text becomes a response, within limits
    answers     what the queries of webhooks find, as it is sent
    limits      what a text may ask for, counted before anything is done
    access      the grants that fields need
    context     what resolvers find in `info.context`
    errors      errors as the response has them
    scalars     times, cursors, uploads
    pages       lists, a page at a time
    problems    all that is wrong with arguments at once; texts, what no text may have
    schema      the resolvers of all subjects, put together
"""

"""fal in a box: a local server that behaves like fal.ai and like Claude, draws its own pictures and costs nothing.

It is a program of its own (`python -m app.sandbox --help`), written from what is known of fal's wire and not from the
service: it imports nothing of it, so that it cannot share its mistakes. Start reading at `program`, then `box`.

    program   binds, prints one line of JSON, serves, stops          origin   which path belongs to whom
    box       all parts put together                                 wire     accounts, and how to cut a connection
    log       its own durable log, and its memory over a restart     pace     how fast its time runs
    control   `/_log/...`, `/_chaos`, `/_pause`, `/_knobs`, ...      outage   when nothing answers
    page      what it is and what happened, for people, at `/`

    fal/      queue_api -> queue -> run -> webhooks: a request's way. chaos is what goes wrong on it, spells are the
              words in a prompt that ask for an outcome; catalogue, inputs and shapes are the models; files and uploads
              the storage; platform_api prices, the request list and billing
    pictures/ studio takes an order; painter draws, edits and defects change, all in worker threads
    claude/   api answers; sight looks at a picture, telling says what is true of it, filling fits that into any schema
"""

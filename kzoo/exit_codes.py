"""The codes with which kzoo's commands end, in one place; docs/distribution.md says what to do at each."""

DONE = 0
BUG = 1  # an error that nobody foresaw: a restart would likely repeat it
FOUND = 1  # `kzoo audit` found what the server cannot run; it is listed, and nothing went wrong
MISTAKE = 2  # something the user can mend, told in one sentence: a restart would repeat it
TRY_AGAIN = 75  # a worker of several was lost (EX_TEMPFAIL of sysexits.h): restart all, they go on from the checkpoint
INTERRUPTED = 130  # Ctrl-C, after a checkpoint was saved (128 + SIGINT, as shells report it)
TERMINATED = 143  # SIGTERM, as at a preemption, after a checkpoint was saved (128 + SIGTERM)

#!/bin/sh
# The same command on several hosts, by ssh. Each has this tool set up in the same folder (FOLDER) of its own:
#
#   export HOSTS="alice bob" FOLDER=tiny-mnist-search
#   export OPTUNA_STORAGE=postgresql+psycopg://USER:PASSWORD@HOST/DATABASE
#   examples/hosts.sh start search --trials 200 --dataset mnist
#   examples/hosts.sh log       # what each has printed last
#   examples/hosts.sh stop      # each ends after the running epoch; start goes on
#
# The commands outlive the connection. OPTUNA_STORAGE goes to the hosts through standard input: no list of processes
# shows it.
set -eu
: "${HOSTS:?are the hosts, like \"alice bob\"}"
ssh=${SSH:-ssh}
folder=${FOLDER:-tiny-mnist-search}
python=${PYTHON:-.venv/bin/python}

usage() {
    echo "Usage: $0 start [COMMAND [OPTION]...] | log | stop" >&2
    exit 2
}

quoted() { # words, so that another shell takes each as one
    for word in "$@"; do printf "'%s' " "$(printf %s "$word" | sed "s/'/'\\\\''/g")"; done
}

runs="[ -e \$pid ] && ps -ww -o args= -p \$(cat \$pid) | grep -q cli.py" # another process may have its number by now

[ $# -gt 0 ] || usage
action=$1
shift
case $action in
start)
    : "${OPTUNA_STORAGE:?is the database that all hosts share}"
    [ $# -gt 0 ] || set -- search --trials 50 --dataset mnist
    do="read -r OPTUNA_STORAGE; export OPTUNA_STORAGE
        if $runs; then echo 'It runs already: stop it first.' >&2; exit 1; fi
        nohup $(quoted "$python" cli.py "$@") >>\$log 2>&1 </dev/null & echo \$! >\$pid"
    ;;
log) do="tail -n 20 \$log" ;;
stop) do="if $runs; then kill -TERM \$(cat \$pid); else echo 'It does not run.' >&2; exit 1; fi" ;;
*) usage ;;
esac

failed=0
for host in $HOSTS; do
    echo "== $host"
    files="log=hosts-$host.log pid=hosts-$host.pid" # hosts may share a folder
    printf '%s\n' "${OPTUNA_STORAGE:-}" | $ssh "$host" "cd $(quoted "$folder") && $files && { $do; }" || failed=1
done
exit $failed

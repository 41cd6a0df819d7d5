# SPDX-License-Identifier: BSD-2-Clause
# bash completion for tandem(8)

_tandem_names()
{
	# Attachments: what is pinned, and what has a run directory.
	(cd /sys/fs/bpf/tandem 2>/dev/null && ls; cd /run/tandem 2>/dev/null && ls) | sort -u
}

_tandem_namespaces()
{
	(cd /run/netns 2>/dev/null && ls)
}

_tandem()
{
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} cmd=${COMP_WORDS[1]}
	local words=

	if [ "$COMP_CWORD" = 1 ]; then
		words="attach detach list status stat ss flows deny run --help --version"
	else
		case $prev in
		--mode) words="auto native generic" ;;
		--claim) words="bound all" ;;
		--netns) words=$(_tandem_namespaces) ;;
		--config) mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
		--on) words=$(_tandem_names) ;;
		--fallback) words=kernel ;;
		--name | --busy-poll) return ;;
		*)
			case $cmd:$prev in
			ss:state | ss:exclude) words="established syn-sent syn-recv fin-wait-1 fin-wait-2 time-wait closed \
				close-wait last-ack listening closing all connected synchronized bucket big" ;;
			esac
			[ -z "$words" ] && case $cmd:$cur in
			attach:-*) words="--netns --name --mode --claim --config --json --help" ;;
			run:-*) words="--on --busy-poll --fallback --help" ;;
			run:*) mapfile -t COMPREPLY < <(compgen -c -f -- "$cur"); return ;;
			ss:-*) words="--all --listening --tcp --numeric --info --memory --options --extended \
				--processes --no-header --json --help" ;;
			stat:-*) words="--openmetrics --json --help" ;;
			*:-*) words="--json --help" ;;
			attach:*) words=$(cd /sys/class/net && ls) ;;
			deny:*) [ "$prev" = deny ] && words="list add del" || words=$(_tandem_names) ;;
			list:*) ;;
			*) words=$(_tandem_names) ;;
			esac
			;;
		esac
	fi
	mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
}

complete -F _tandem tandem

# Completes flags in bash, as --help lists them: source this file.

_wukong_flags() {
  local program=$1 word=${COMP_WORDS[COMP_CWORD]} flag=""
  if [[ ${COMP_WORDS[COMP_CWORD]} == = ]]; then
    flag=${COMP_WORDS[COMP_CWORD - 1]} word=""
  elif [[ ${COMP_WORDS[COMP_CWORD - 1]} == = ]]; then
    flag=${COMP_WORDS[COMP_CWORD - 2]}
  fi
  : "${_wukong_help[$program]:=$($program --help 2>/dev/null)}"
  local forms values
  forms=$(sed -n 's/^  \(--[^ ]*\)$/\1/p' <<<"${_wukong_help[$program]}")
  if [[ -n $flag ]]; then
    values=$(sed -n "s/^$flag=\(.*|.*\)/\1/p" <<<"$forms")
    if [[ -n $values ]]; then
      COMPREPLY=($(compgen -W "${values//|/ }" -- "$word"))
    else
      compopt -o filenames
      mapfile -t COMPREPLY < <(compgen -f -- "$word")
    fi
    return
  fi
  forms=$(sed -e 's/=.*/=/' -e 's/^--\[no\]\(.*\)/--\1 --no\1/' <<<"$forms")
  COMPREPLY=($(compgen -W "$forms" -- "$word"))
  [[ ${COMPREPLY[0]} != *= ]] || compopt -o nospace
}

declare -gA _wukong_help
complete -o default -F _wukong_flags wukong-{train,launch,prepare,example-log,info,tune,compare,reproduce,scaling} \
  wukong-{export,serve,score,rollout}

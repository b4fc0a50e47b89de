import { type CompletionNode, type CompletionOption, nameCommand } from './tree.ts';

export const shells = ['bash', 'zsh', 'fish'] as const;
export type Shell = (typeof shells)[number];

/**
 * A completion script for the shell. Commands, types, options and their choices stand in it; for names of objects it asks the program, which asks the coordinator for a short while.
 */
export function completionScript(shell: Shell, name: string, tree: readonly CompletionNode[]): string {
  return { bash: bashScript, zsh: zshScript, fish: fishScript }[shell](name, tree);
}

const quote = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;
const functionName = (name: string): string => `_${name.replaceAll(/[^A-Za-z0-9]/g, '_')}`;
const flagsOf = (options: readonly CompletionOption[]): string[] => options.flatMap((option) => option.flags);

/** Walks the words of the line down the tree, skipping options and their values; leaves the command's names in $command (zsh keeps $path for itself) and the number of its arguments in $args. For bash and zsh. */
function walker(tree: readonly CompletionNode[], words: string, first: number, current: string): string {
  const valued = [...new Set(tree.flatMap((node) => flagsOf(node.options.filter((option) => option.takesValue))))];
  const paths = tree.filter((node) => node.path !== '').map((node) => quote(node.path));
  return `  local command='' word next i args=0
  for (( i = ${first}; i < ${current}; i++ )); do
    word="\${${words}[i]}"
    case "$word" in
      ${valued.join('|')}) (( i++ )); continue ;;
      -*) continue ;;
    esac
    next="\${command:+$command }$word"
    case "$next" in
      ${paths.join('|')}) command="$next" ;;
      *) (( args += 1 )) ;;
    esac
  done`;
}

/** Options with choices or paths, told by the word before the cursor within each command. */
function valueCases(node: CompletionNode, complete: (option: CompletionOption) => string): string[] {
  return node.options
    .filter((option) => option.takesValue)
    .map(
      (option) =>
        `${[node.path].flatMap((path) => option.flags.map((flag) => quote(`${path}:${flag}`))).join('|')}) ${complete(option)}; return ;;`,
    );
}

/** How a script finds out that names are wanted: `first` at each argument, `rest` after a type, or in TYPE/NAME. */
function namesWord({ names }: CompletionNode): string {
  if (!names) return '';
  return names.source === 'typed' ? ' names=rest' : ' names=first';
}

const wantsNames = `[[ "$names" == first ]] || { [[ "$names" == rest ]] && { (( args > 0 )) || [[ "$cur" == */* ]]; }; }`;

function bashScript(name: string, tree: readonly CompletionNode[]): string {
  const names = `mapfile -t COMPREPLY < <(${name} ${nameCommand} -- "\${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)`;
  const complete = (option: CompletionOption): string => {
    if (option.names) return names;
    if (option.choices.length > 0) return `mapfile -t COMPREPLY < <(compgen -W ${quote(option.choices.join(' '))} -- "$cur")`;
    return option.takesPath ? 'compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- "$cur")' : 'COMPREPLY=()';
  };
  const words = tree.map((node) => {
    const candidates = [...node.subcommands.map((child) => child.name), ...node.words].join(' ');
    return `    ${quote(node.path)}) words=${quote(candidates)}; flags=${quote(flagsOf(node.options).join(' '))};${namesWord(node)} ;;`;
  });
  return `# bash completion for ${name}. Load it with: source <(${name} completion bash)
${functionName(name)}() {
  local cur="\${COMP_WORDS[COMP_CWORD]}" prev="\${COMP_WORDS[COMP_CWORD-1]}" words='' flags='' names=''
${walker(tree, 'COMP_WORDS', 1, 'COMP_CWORD')}
  case "$command:$prev" in
    ${tree.flatMap((node) => valueCases(node, complete)).join('\n    ')}
  esac
  case "$command" in
${words.join('\n')}
  esac
  if [[ "$cur" == -* ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$flags" -- "$cur")
  elif ${wantsNames}; then
    ${names}
  elif [[ -n "$words" ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
  else
    compopt -o filenames
    mapfile -t COMPREPLY < <(compgen -f -- "$cur")
  fi
}
complete -F ${functionName(name)} ${name}
`;
}

function zshScript(name: string, tree: readonly CompletionNode[]): string {
  const names = `found=(\${(f)"$(${name} ${nameCommand} -- "\${(@)words[2,CURRENT]}" 2>/dev/null)"}); compadd -a found`;
  const complete = (option: CompletionOption): string => {
    if (option.names) return names;
    if (option.choices.length > 0) return `compadd -- ${option.choices.map(quote).join(' ')}`;
    return option.takesPath ? '_files' : ':';
  };
  const pair = (word: string, description: string): string => quote(`${word.replaceAll(':', '\\:')}:${description}`);
  const cases = tree.map((node) => {
    const words = [...node.subcommands.map((child) => pair(child.name, child.description)), ...node.words.map((word) => pair(word, ''))];
    const flags = node.options.flatMap((option) => option.flags.map((flag) => pair(flag, option.description)));
    return `    ${quote(node.path)}) candidates=(${words.join(' ')}); flags=(${flags.join(' ')});${namesWord(node)} ;;`;
  });
  return `#compdef ${name}
# zsh completion for ${name}. Load it with: source <(${name} completion zsh)
${functionName(name)}() {
  local cur="\${words[CURRENT]}" prev="\${words[CURRENT-1]}"
  local names=''
  local -a candidates flags found
${walker(tree, 'words', 2, 'CURRENT')}
  case "$command:$prev" in
    ${tree.flatMap((node) => valueCases(node, complete)).join('\n    ')}
  esac
  case "$command" in
${cases.join('\n')}
  esac
  if [[ "$cur" == -* ]]; then
    _describe 'option' flags
  elif ${wantsNames}; then
    ${names}
  elif (( \${#candidates} )); then
    _describe 'command' candidates
  else
    _files
  fi
}
compdef ${functionName(name)} ${name}
`;
}

function fishScript(name: string, tree: readonly CompletionNode[]): string {
  const names = `(${name} ${nameCommand} -- (commandline -opc)[2..-1] (commandline -ct) 2>/dev/null)`;
  const lines = tree.flatMap((node) => {
    const condition = `-n ${quote(`${functionName(name)}_at ${quote(node.path)}`)}`;
    const words = [...node.subcommands, ...node.words.map((word) => ({ name: word, description: '' }))];
    return [
      ...words.map((word) => `complete -c ${name} -f ${condition} -a ${quote(word.name)} -d ${quote(word.description)}`),
      ...(node.names ? [`complete -c ${name} -f ${condition} -a ${quote(names)}`] : []),
      ...node.options.map((option) => `complete -c ${name} ${condition} ${fishOption(option, names)} -d ${quote(option.description)}`),
    ];
  });
  const known = tree.filter((node) => node.path !== '').map((node) => quote(node.path));
  return `# fish completion for ${name}. Load it with: ${name} completion fish | source
function ${functionName(name)}_at
  set -l path ''
  for word in (commandline -opc)[2..-1]
    set -l next (string trim -- "$path $word")
    if contains -- "$next" ${known.join(' ')}
      set path $next
    end
  end
  test "$path" = "$argv[1]"
end
${lines.join('\n')}
`;
}

function fishOption({ flags, takesValue, choices, takesPath, names }: CompletionOption, askForNames: string): string {
  const spelled = flags.map((flag) => (flag.startsWith('--') ? `-l ${flag.slice(2)}` : `-s ${flag.slice(1)}`));
  if (names) return `${spelled.join(' ')} -x -a ${quote(askForNames)}`;
  const value = !takesValue ? '' : choices.length > 0 ? ` -x -a ${quote(choices.join(' '))}` : takesPath ? ' -r -F' : ' -x';
  return spelled.join(' ') + value;
}

export { completionScript, type Shell, shells } from './shells.ts';
export { type CompletionNode, type CompletionOption, completionTree } from './tree.ts';

// What a person should be told, in a corner. Good news goes by itself; trouble stays until it is put away.

import { unmarked } from './words.js';

const MOST = 4;
const STAYS = 8000;

/** One of the same words as one that stands there takes its place. */
export function showToast(corner, { level, title, detail }) {
  for (const other of [...corner.children]) if (other.firstElementChild.textContent === title) other.remove();
  const toast = document.createElement('div');
  toast.className = 'toast';
  toast.dataset.level = level;
  const part = (tag, words) => toast.appendChild(Object.assign(document.createElement(tag), { textContent: words }));
  part('strong', title);
  if (detail) part('p', unmarked(detail));
  const close = part('button', '×');
  close.type = 'button';
  close.ariaLabel = 'Put away';
  close.addEventListener('click', () => toast.remove());
  corner.append(toast);
  if (corner.children.length > MOST) corner.firstElementChild.remove();
  if (level === 'info') setTimeout(() => toast.remove(), STAYS);
}

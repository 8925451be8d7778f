// Nodes from data, and the least change of a page. Text becomes text nodes, never markup.

const SVG = 'http://www.w3.org/2000/svg';
const SAFE_LINK = /^(https?:\/\/|mailto:|[/?#])/i;

/**
 * Make an element: `h('p.small', attributes, ...children)`; attributes may be left out. They are `class`, `style` (an
 * object), `on…` (a function), `key` (see morph), others as text.
 */
export function h(tag, ...content) {
  const [name, ...classes] = tag.split('.');
  const attributes = content[0]?.constructor === Object ? content.shift() : {};
  return filled(document.createElement(name), classes.length ? { class: classes.join(' '), ...attributes } : attributes, content);
}

export const svg = (tag, attributes, ...children) => filled(document.createElementNS(SVG, tag), attributes, children);

function filled(node, attributes, children) {
  Object.assign(node, { said: {}, look: {}, props: {} });
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name === 'key') node.key = value;
    else if (name === 'style') for (const [property, text] of Object.entries(node.look = value)) node.style.setProperty(property, text);
    else if (typeof value === 'function') node[name] = node.props[name] = value;
    else if (name !== 'href' || SAFE_LINK.test(value)) node.setAttribute(name, node.said[name] = value === true ? '' : `${value}`);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== undefined && child !== null && child !== false));
  return node;
}

/**
 * Make `from` look like `to` with the least change, so that focus, scroll position and selection stay; return the node
 * that is in the page then. Siblings with a `key` are matched by it, others by their order and name.
 */
export function morph(from, to) {
  if (from.nodeName !== to.nodeName || from.key !== to.key) {
    from.replaceWith(to);
    return to;
  }
  if (from.nodeType === Node.TEXT_NODE) {
    if (from.data !== to.data) from.data = to.data;
    return from;
  }
  attributesOf(from, to);
  childrenOf(from, to);
  return from;
}

// What a person has changed stays: an open part, the text of a field.
const OF_PEOPLE = new Set(['open', 'value', 'checked']);

/** Compare with what was said before, as to read the page is slow: 2,000 boxes of a graph have to be done in 0.1 s. */
function attributesOf(from, to) {
  const { said = {}, look = {}, props = {} } = from;
  for (const name in said) if (!(name in to.said) && !OF_PEOPLE.has(name)) from.removeAttribute(name);
  for (const name in to.said) if (said[name] !== to.said[name] && !OF_PEOPLE.has(name)) from.setAttribute(name, to.said[name]);
  for (const name in look) if (!(name in to.look)) from.style.removeProperty(name);
  for (const name in to.look) if (look[name] !== to.look[name]) from.style.setProperty(name, to.look[name]);
  for (const name in props) if (!(name in to.props)) from[name] = null;
  Object.assign(from, to.props, { said: to.said, look: to.look, props: to.props });
}

function childrenOf(from, to) {
  const keyed = new Map();
  for (let node = from.firstChild; node; node = node.nextSibling) if (node.key !== undefined) keyed.set(node.key, node);
  let at = from.firstChild;
  for (let wanted = to.firstChild, next; wanted; wanted = next) {
    next = wanted.nextSibling;
    const known = wanted.key === undefined ? unkeyed(at) : keyed.get(wanted.key);
    if (known && known.nodeName === wanted.nodeName) {
      if (known === at) at = at.nextSibling;
      else from.insertBefore(known, at);
      keyed.delete(wanted.key);
      morph(known, wanted);
    } else from.insertBefore(wanted, at);
  }
  while (at) {
    const following = at.nextSibling;
    at.remove();
    at = following;
  }
  for (const node of keyed.values()) node.remove();
}

const unkeyed = (node) => (node && node.key === undefined ? node : null);

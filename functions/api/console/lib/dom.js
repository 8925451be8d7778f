// Nodes from data, and the least change of a page. Text becomes text nodes, never markup.

const SVG = 'http://www.w3.org/2000/svg';
const SAFE_LINK = /^(https?:\/\/|mailto:|[/?#])/i;

/** Make an element. Attributes: `class`, `style` (an object), `on…` (a function), `key` (see morph), others as text. */
export const h = (tag, attributes, ...children) => filled(document.createElement(tag), attributes, children);

/** Make an SVG element. */
export const svg = (tag, attributes, ...children) => filled(document.createElementNS(SVG, tag), attributes, children);

function filled(node, attributes, children) {
  node.props = {};
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name === 'key') node.key = value;
    else if (name === 'style') for (const [property, text] of Object.entries(value)) node.style.setProperty(property, text);
    else if (typeof value === 'function') node[name] = node.props[name] = value;
    else if (name !== 'href' || SAFE_LINK.test(value)) node.setAttribute(name, value === true ? '' : value);
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
const OF_PEOPLE = new Set(['open', 'value', 'checked', 'style']);

function attributesOf(from, to) {
  for (const { name } of [...from.attributes]) if (!to.hasAttribute(name) && !OF_PEOPLE.has(name)) from.removeAttribute(name);
  for (const { name, value } of to.attributes) {
    if (!OF_PEOPLE.has(name) && from.getAttribute(name) !== value) from.setAttribute(name, value);
  }
  if (from.style.cssText !== to.style.cssText) from.style.cssText = to.style.cssText;
  for (const name of Object.keys(from.props ?? {})) if (!(name in (to.props ?? {}))) from[name] = null;
  Object.assign(from, to.props);
  from.props = to.props;
}

function childrenOf(from, to) {
  const keyed = new Map([...from.childNodes].filter((node) => node.key !== undefined).map((node) => [node.key, node]));
  let at = from.firstChild;
  for (const wanted of [...to.childNodes]) {
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

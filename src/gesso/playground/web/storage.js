// What the browser keeps for us. Where it may keep nothing, all works for as long as the page is open.

function area(kind) {
  const memory = new Map();
  const real = () => {
    try {
      return window[kind];
    } catch {
      return null;
    }
  };
  return {
    get(name) {
      try {
        return memory.get(name) ?? real()?.getItem(name) ?? null;
      } catch {
        return null;
      }
    },
    set(name, value) {
      memory.delete(name);
      try {
        if (value === null) real()?.removeItem(name);
        else real().setItem(name, value);
      } catch {
        memory.set(name, value); // forbidden, or full
      }
    },
  };
}

export const tab = area("sessionStorage");
export const device = area("localStorage");

/** The JSON kept under *name*; *otherwise* where there is none, or none that can be read. */
export function read(name, otherwise) {
  try {
    return JSON.parse(device.get(name)) ?? otherwise;
  } catch {
    return otherwise;
  }
}

export function write(name, value) {
  device.set(name, JSON.stringify(value));
}

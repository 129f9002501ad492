//! Tells JavaScript what became of mapped files: a callback for each environment (the main thread, each worker).

use std::ffi::c_void;
use std::ptr;
use std::sync::Mutex;

use kw_map::LeaseEvent;
use kw_model::{Code, WeightsError};
use napi::bindgen_prelude::{ArrayBuffer, Function, JsValue};
use napi::{Env, sys};
use napi_derive::napi;
use serde::Serialize;

use crate::buffers::owner_of;
use crate::failure::{export, to_json};
use crate::pool::lock;

/// A way into one environment, and the number it is known by.
struct Listener {
    function: sys::napi_threadsafe_function,
    number: usize,
}

// SAFETY: a thread-safe function may be called from any thread.
unsafe impl Send for Listener {}

static LISTENERS: Mutex<Vec<Listener>> = Mutex::new(Vec::new());

#[derive(Serialize)]
struct Told<'a> {
    file: &'a str,
    bytes: u64,
    lost: bool,
    /// True for one of the environments, which says so to the user.
    first: bool,
}

/// Calls back with `{ file, bytes, lost, first }` as JSON whenever a writer came to a mapped file. It keeps neither the
/// event loop nor the process alive.
#[napi(catch_unwind, ts_args_type = "callback: (event: string) => void, main: boolean")]
pub fn on_lease_event(env: &Env, callback: Function<'_, String, ()>, main: bool) -> napi::Result<()> {
    export(env, || {
        let mut listeners = lock(&LISTENERS);
        let number = listeners.iter().map(|listener| listener.number).max().unwrap_or(0) + 1;
        let mut function = ptr::null_mut();
        // SAFETY: `env` and `callback` are alive; no context is given; `closed` and `call` are what is asked for.
        let done = unsafe {
            let mut name = ptr::null_mut();
            sys::napi_create_string_utf8(env.raw(), c"keras-weights".as_ptr(), 13, &raw mut name)
                == sys::Status::napi_ok
                && sys::napi_create_threadsafe_function(
                    env.raw(),
                    callback.value().value,
                    ptr::null_mut(),
                    name,
                    0,
                    1,
                    number as *mut c_void,
                    Some(closed),
                    ptr::null_mut(),
                    Some(call),
                    &raw mut function,
                ) == sys::Status::napi_ok
                && sys::napi_unref_threadsafe_function(env.raw(), function) == sys::Status::napi_ok
        };
        if !done {
            return Err(WeightsError::new(Code::Internal, "the addon could not be given a way back"));
        }
        // The main thread tells the user, where it uses the addon.
        let place = if main { 0 } else { listeners.len() };
        listeners.insert(place, Listener { function, number });
        kw_map::on_lease_event(tell);
        Ok(())
    })
}

/// Runs on the guard's thread.
#[expect(clippy::needless_pass_by_value, reason = "what a listener is given")]
fn tell(event: LeaseEvent) {
    let listeners = lock(&LISTENERS);
    for (index, listener) in listeners.iter().enumerate() {
        let told = Told { file: &event.name, bytes: event.bytes, lost: event.lost, first: index == 0 };
        let Ok(text) = to_json(&told) else { continue };
        let data = Box::into_raw(Box::new(text));
        // SAFETY: the function is alive: before it goes `closed` takes it off the list, for which it waits for our lock.
        let status = unsafe {
            let way = sys::ThreadsafeFunctionCallMode::nonblocking;
            sys::napi_call_threadsafe_function(listener.function, data.cast(), way)
        };
        if status != sys::Status::napi_ok {
            // SAFETY: it was not taken, so it is still ours.
            drop(unsafe { Box::from_raw(data) });
        }
    }
}

/// Runs on JavaScript's thread with what [`tell`] sent.
unsafe extern "C" fn call(env: sys::napi_env, callback: sys::napi_value, _: *mut c_void, data: *mut c_void) {
    // SAFETY: made by `tell` from a box, and given to this function alone.
    let text = unsafe { Box::from_raw(data.cast::<String>()) };
    if env.is_null() || callback.is_null() {
        return;
    }
    let (mut this, mut argument) = (ptr::null_mut(), ptr::null_mut());
    // SAFETY: `env` and `callback` are alive during this call, and `text` outlives its use.
    unsafe {
        let length = text.len().cast_signed();
        if sys::napi_get_undefined(env, &raw mut this) == sys::Status::napi_ok
            && sys::napi_create_string_utf8(env, text.as_ptr().cast(), length, &raw mut argument)
                == sys::Status::napi_ok
        {
            sys::napi_call_function(env, this, callback, 1, &raw const argument, ptr::null_mut());
        }
    }
}

/// Runs when an environment ends.
unsafe extern "C" fn closed(_: sys::napi_env, number: *mut c_void, _: *mut c_void) {
    lock(&LISTENERS).retain(|listener| listener.number != number as usize);
}

/// Detaches a buffer whose values could not be kept, so that nobody takes what is there for them; false when they are.
#[napi(catch_unwind)]
pub fn detach_lost(env: &Env, buffer: ArrayBuffer<'_>) -> napi::Result<bool> {
    let lost = owner_of(&buffer).is_some_and(|(owner, _)| owner.region().check_kept().is_err());
    if lost {
        buffer.detach()?;
    }
    export(env, || Ok(lost))
}

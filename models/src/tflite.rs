//! The binding to LiteRT (TensorFlow Lite): the only unsafe code of Rollcall.
//!
//! It opens one pinned release of the library, checked by hash, through its C interface, and gives
//! a safe [`Model`] that is fed and read by closures over typed slices. It knows nothing of faces.
//! The interface moves between releases, so nothing but the pinned bytes is ever opened.
#![expect(unsafe_code, reason = "the C interface of LiteRT; everything else in Rollcall is safe")]

use std::ffi::{CString, c_char, c_int, c_void};
use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};
use std::ptr::null_mut;
use std::sync::Arc;

use libloading::Library;

use crate::error::{Error, Result};
use crate::manifest::{Element, Manifest, beside_executable, listed, read_pinned};

/// LiteRT 2.1.6 as published in the Python wheels `ai-edge-litert` (see `models/fetch.sh`).
const LIBRARY_SHA256: [(&str, &str); 2] = [
    ("x86_64", "d46eca60880d6e28c1992d136459f06ab642e30eb423bdc14d56e928f398ce19"),
    ("aarch64", "c3e365e05249ea97d8dd6d0590df7f9bc817ff61e9610a355ff3937b72864d11"),
];

type Pointer = *mut c_void;
type Status = c_int;

const CPU: c_int = 1;
const LOG_ERRORS_ONLY: i64 = 3;
const TYPE_INT: c_int = 2;
const TAG_CPU_ONLY: c_int = 24;
const TAG_LOG_LEVEL: c_int = 25;
const LOCK_READ: c_int = 0;
const LOCK_WRITE: c_int = 1;

/// `LiteRtLayout`: the low seven bits of the first word are the rank.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Layout {
    rank_and_flags: u32,
    dimensions: [i32; 8],
    strides: [u32; 8],
}

impl Layout {
    fn shape(&self) -> Vec<usize> {
        let rank = (self.rank_and_flags & 127) as usize;
        self.dimensions[..rank.min(8)].iter().map(|&d| usize::try_from(d).unwrap_or(0)).collect()
    }
}

/// `LiteRtRankedTensorType`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct TensorType {
    element: c_int,
    layout: Layout,
}
const _: () = assert!(size_of::<TensorType>() == 72);

/// `LiteRtQuantizationPerTensor`: value = (byte - zero point) * scale.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Quantization {
    scale: f32,
    zero_point: i64,
}

#[repr(C)]
struct Any {
    kind: c_int,
    value: i64,
}

#[repr(C)]
struct EnvironmentOption {
    tag: c_int,
    value: Any,
}

macro_rules! interface {
    ($($name:ident($($argument:ty),*) -> $result:ty;)*) => {
        #[allow(non_snake_case)]
        struct Interface {
            $($name: unsafe extern "C" fn($($argument),*) -> $result,)*
            /// Never closed: what LiteRT leaves running at its unloading crashes the process.
            _library: ManuallyDrop<Library>,
        }

        impl Interface {
            /// # Safety
            /// `path` must be the pinned library: the signatures here are those of that release.
            unsafe fn open(path: &Path) -> std::result::Result<Self, libloading::Error> {
                // SAFETY: the caller vouches for the file.
                unsafe {
                    let library = Library::new(path)?;
                    Ok(Self {
                        $($name: *library.get(concat!(stringify!($name), "\0").as_bytes())?,)*
                        _library: ManuallyDrop::new(library),
                    })
                }
            }
        }
    };
}

interface! {
    LiteRtCreateEnvironment(c_int, *const EnvironmentOption, *mut Pointer) -> Status;
    LiteRtDestroyEnvironment(Pointer) -> ();
    LiteRtCreateModelFromBuffer(Pointer, *const c_void, usize, *mut Pointer) -> Status;
    LiteRtDestroyModel(Pointer) -> ();
    LiteRtCreateOptions(*mut Pointer) -> Status;
    LiteRtDestroyOptions(Pointer) -> ();
    LiteRtSetOptionsHardwareAccelerators(Pointer, c_int) -> Status;
    LiteRtCreateOpaqueOptions(*const c_char, *mut c_void, extern "C" fn(*mut c_void), *mut Pointer) -> Status;
    LiteRtAddOpaqueOptions(Pointer, Pointer) -> Status;
    LiteRtCreateCompiledModel(Pointer, Pointer, Pointer, *mut Pointer) -> Status;
    LiteRtDestroyCompiledModel(Pointer) -> ();
    LiteRtRunCompiledModel(Pointer, usize, usize, *mut Pointer, usize, *mut Pointer) -> Status;
    LiteRtGetModelSubgraph(Pointer, usize, *mut Pointer) -> Status;
    LiteRtGetSubgraphInput(Pointer, usize, *mut Pointer) -> Status;
    LiteRtGetSubgraphOutput(Pointer, usize, *mut Pointer) -> Status;
    LiteRtGetNumSubgraphOutputs(Pointer, *mut usize) -> Status;
    LiteRtGetRankedTensorType(Pointer, *mut TensorType) -> Status;
    LiteRtGetPerTensorQuantization(Pointer, *mut Quantization) -> Status;
    LiteRtGetCompiledModelInputBufferRequirements(Pointer, usize, usize, *mut Pointer) -> Status;
    LiteRtGetCompiledModelOutputBufferRequirements(Pointer, usize, usize, *mut Pointer) -> Status;
    LiteRtCreateManagedTensorBufferFromRequirements(Pointer, *const TensorType, Pointer, *mut Pointer) -> Status;
    LiteRtGetCompiledModelInputTensorLayout(Pointer, usize, usize, *mut Layout) -> Status;
    LiteRtGetCompiledModelOutputTensorLayouts(Pointer, usize, usize, *mut Layout, bool) -> Status;
    LiteRtGetTensorBufferPackedSize(Pointer, *mut usize) -> Status;
    LiteRtLockTensorBuffer(Pointer, *mut *mut c_void, c_int) -> Status;
    LiteRtUnlockTensorBuffer(Pointer) -> Status;
    LiteRtDestroyTensorBuffer(Pointer) -> ();
}

extern "C" fn free_text(text: *mut c_void) {
    // SAFETY: LiteRT hands back the pointer that `CString::into_raw` gave it, once.
    drop(unsafe { CString::from_raw(text.cast()) });
}

/// The opened library with one environment. Cheap to clone.
#[derive(Clone)]
pub struct Runtime(Arc<Environment>);

struct Environment {
    interface: Interface,
    handle: Pointer,
}

// SAFETY: after creation the environment is only read; LiteRT allows one environment for many
// compiled models on many threads.
unsafe impl Send for Environment {}
// SAFETY: as above.
unsafe impl Sync for Environment {}

impl Drop for Environment {
    fn drop(&mut self) {
        // SAFETY: every model holds an `Arc` of this, so none is left.
        unsafe { (self.interface.LiteRtDestroyEnvironment)(self.handle) }
    }
}

impl Runtime {
    /// Opens the library at `$ROLLCALL_LITERT`, `<exe>/../lib/rollcall/libLiteRt.so` or
    /// `/usr/lib/rollcall/libLiteRt.so`, whichever is there first, if it is the pinned one.
    pub fn open() -> Result<Self> {
        Self::open_at(&Self::locate()?)
    }

    fn locate() -> Result<PathBuf> {
        if let Some(path) = std::env::var_os("ROLLCALL_LITERT") {
            let path = PathBuf::from(path);
            return if path.is_file() {
                Ok(path)
            } else {
                Err(Error::LibraryMissing { looked: path.display().to_string() })
            };
        }
        let places = beside_executable("lib/rollcall/libLiteRt.so", "/usr/lib/rollcall/libLiteRt.so");
        match places.iter().find(|place| place.is_file()) {
            Some(place) => Ok(place.clone()),
            None => Err(Error::LibraryMissing { looked: listed(&places) }),
        }
    }

    /// Opens the library at `path`, if it is the pinned one.
    pub fn open_at(path: &Path) -> Result<Self> {
        let (_, sha256) = LIBRARY_SHA256
            .iter()
            .find(|(arch, _)| *arch == std::env::consts::ARCH)
            .ok_or(Error::Architecture(std::env::consts::ARCH))?;
        let path = path.canonicalize().map_err(|source| Error::Read { path: path.to_owned(), source })?;
        read_pinned(&path, sha256)?;
        // SAFETY: the file is the pinned release.
        let interface = unsafe { Interface::open(&path) }
            .map_err(|e| Error::Library { path: path.clone(), reason: e.to_string() })?;
        let option = |tag, value| EnvironmentOption { tag, value: Any { kind: TYPE_INT, value } };
        let options = [option(TAG_LOG_LEVEL, LOG_ERRORS_ONLY), option(TAG_CPU_ONLY, 1)];
        let mut handle = null_mut();
        // SAFETY: two options, read during the call.
        let status = unsafe { (interface.LiteRtCreateEnvironment)(2, options.as_ptr(), &raw mut handle) };
        check(status, "creating the environment", "LiteRT")?;
        Ok(Self(Arc::new(Environment { interface, handle })))
    }
}

fn check(status: Status, operation: &'static str, model: &str) -> Result<()> {
    if status == 0 { Ok(()) } else { Err(Error::Runtime { operation, model: model.to_owned(), status }) }
}

mod sealed {
    pub trait Number: Copy + 'static {}
    impl Number for f32 {}
    impl Number for u8 {}
    impl Number for i8 {}
}

/// A number that a tensor can hold: `f32`, `u8` or `i8`.
pub trait Number: sealed::Number {
    /// Its name in manifests.
    const ELEMENT: Element;
}
impl Number for f32 {
    const ELEMENT: Element = Element::F32;
}
impl Number for u8 {
    const ELEMENT: Element = Element::Uint8;
}
impl Number for i8 {
    const ELEMENT: Element = Element::Int8;
}

/// LiteRT's numbering of element types, which is TensorFlow Lite's.
fn element_code(element: Element) -> c_int {
    match element {
        Element::F32 => 1,
        Element::Uint8 => 3,
        Element::Int8 => 9,
    }
}

struct Tensor {
    buffer: Pointer,
    element: Element,
    shape: Vec<usize>,
    bytes: usize,
    quantization: Quantization,
}

/// A compiled model with its tensors. One thread at a time.
pub struct Model {
    environment: Arc<Environment>,
    name: String,
    handle: Pointer,
    compiled: Pointer,
    input: Option<Tensor>,
    outputs: Vec<Tensor>,
    /// LiteRT reads the weights from here as long as the model lives.
    bytes: Vec<u8>,
}

// SAFETY: nothing in a compiled model is bound to the thread that made it, and `&mut self` on
// every call that touches it keeps it on one thread at a time.
unsafe impl Send for Model {}

impl Drop for Model {
    fn drop(&mut self) {
        let api = &self.environment.interface;
        // SAFETY: each handle was created by the matching call or is null, and is destroyed once,
        // users before what they use.
        unsafe {
            for tensor in self.input.iter().chain(&self.outputs) {
                (api.LiteRtDestroyTensorBuffer)(tensor.buffer);
            }
            if !self.compiled.is_null() {
                (api.LiteRtDestroyCompiledModel)(self.compiled);
            }
            if !self.handle.is_null() {
                (api.LiteRtDestroyModel)(self.handle);
            }
        }
    }
}

impl Model {
    /// Compiles `bytes` for the CPU with `threads` threads and checks its tensors against the
    /// manifest.
    pub fn compile(runtime: &Runtime, manifest: &Manifest, bytes: Vec<u8>, threads: usize) -> Result<Self> {
        let mut model = Self {
            environment: runtime.0.clone(),
            name: manifest.file.clone(),
            handle: null_mut(),
            compiled: null_mut(),
            input: None,
            outputs: Vec::new(),
            bytes,
        };
        model.create(threads)?;
        model.attach()?;
        model.match_manifest(manifest)?;
        Ok(model)
    }

    fn check(&self, status: Status, operation: &'static str) -> Result<()> {
        check(status, operation, &self.name)
    }

    fn create(&mut self, threads: usize) -> Result<()> {
        let environment = self.environment.clone();
        let api = &environment.interface;
        let settings = CString::new(format!("num_threads = {threads}\n")).map_err(|_| Error::Runtime {
            operation: "setting the threads",
            model: self.name.clone(),
            status: -1,
        })?;
        // SAFETY: the bytes outlive the model (they are a field of it); the options own the text
        // and give it back to `free_text`; all handles are checked before use.
        unsafe {
            let status = (api.LiteRtCreateModelFromBuffer)(
                environment.handle,
                self.bytes.as_ptr().cast(),
                self.bytes.len(),
                &raw mut self.handle,
            );
            self.check(status, "reading")?;
            let mut options = null_mut();
            self.check((api.LiteRtCreateOptions)(&raw mut options), "making options")?;
            let mut threads = null_mut();
            let status = (api.LiteRtSetOptionsHardwareAccelerators)(options, CPU);
            let status = status
                | (api.LiteRtCreateOpaqueOptions)(
                    c"xnnpack".as_ptr(),
                    settings.into_raw().cast(),
                    free_text,
                    &raw mut threads,
                );
            let status = status | (api.LiteRtAddOpaqueOptions)(options, threads);
            let compiled = if status == 0 {
                (api.LiteRtCreateCompiledModel)(
                    environment.handle,
                    self.handle,
                    options,
                    &raw mut self.compiled,
                )
            } else {
                status
            };
            (api.LiteRtDestroyOptions)(options);
            self.check(compiled, "compiling")
        }
    }

    /// Makes a buffer for each tensor.
    fn attach(&mut self) -> Result<()> {
        let environment = self.environment.clone();
        let api = &environment.interface;
        let mut graph = null_mut();
        let mut count = 0;
        let mut layout = Layout::default();
        let mut tensor = null_mut();
        let mut needs = null_mut();
        // SAFETY: handles come from the calls before; out-pointers live through each call; there
        // are `count` layouts to write.
        unsafe {
            self.check((api.LiteRtGetModelSubgraph)(self.handle, 0, &raw mut graph), "reading the graph")?;
            self.check((api.LiteRtGetNumSubgraphOutputs)(graph, &raw mut count), "counting outputs")?;
            self.check((api.LiteRtGetSubgraphInput)(graph, 0, &raw mut tensor), "finding the input")?;
            let status = (api.LiteRtGetCompiledModelInputTensorLayout)(self.compiled, 0, 0, &raw mut layout);
            self.check(status, "shaping the input")?;
            let status =
                (api.LiteRtGetCompiledModelInputBufferRequirements)(self.compiled, 0, 0, &raw mut needs);
            self.check(status, "measuring the input")?;
            self.input = Some(self.buffer(tensor, layout, needs)?);
            let mut layouts = vec![Layout::default(); count];
            let status = (api.LiteRtGetCompiledModelOutputTensorLayouts)(
                self.compiled,
                0,
                count,
                layouts.as_mut_ptr(),
                true,
            );
            self.check(status, "shaping the outputs")?;
            for (index, layout) in layouts.into_iter().enumerate() {
                let status = (api.LiteRtGetSubgraphOutput)(graph, index, &raw mut tensor);
                self.check(status, "finding an output")?;
                let status = (api.LiteRtGetCompiledModelOutputBufferRequirements)(
                    self.compiled,
                    0,
                    index,
                    &raw mut needs,
                );
                self.check(status, "measuring an output")?;
                let output = self.buffer(tensor, layout, needs)?;
                self.outputs.push(output);
            }
        }
        Ok(())
    }

    /// # Safety
    /// `tensor` and `needs` must belong to this model.
    unsafe fn buffer(&self, tensor: Pointer, layout: Layout, needs: Pointer) -> Result<Tensor> {
        let api = &self.environment.interface;
        let mut kind = TensorType::default();
        let mut quantization = Quantization::default();
        let mut buffer = null_mut();
        let mut bytes = 0;
        // SAFETY: the caller's promise; out-pointers live through each call.
        unsafe {
            self.check((api.LiteRtGetRankedTensorType)(tensor, &raw mut kind), "typing a tensor")?;
            // A tensor of floats has none: the zeros stay.
            let _ = (api.LiteRtGetPerTensorQuantization)(tensor, &raw mut quantization);
            kind.layout = layout;
            let status = (api.LiteRtCreateManagedTensorBufferFromRequirements)(
                self.environment.handle,
                &raw const kind,
                needs,
                &raw mut buffer,
            );
            self.check(status, "making a buffer")?;
            self.check((api.LiteRtGetTensorBufferPackedSize)(buffer, &raw mut bytes), "sizing a buffer")?;
        }
        let element = [Element::F32, Element::Uint8, Element::Int8]
            .into_iter()
            .find(|&element| element_code(element) == kind.element);
        let Some(element) = element else {
            // SAFETY: made above, and not stored anywhere.
            unsafe { (api.LiteRtDestroyTensorBuffer)(buffer) };
            return Err(Error::Shape {
                model: self.name.clone(),
                what: "a tensor's element type".into(),
                found: kind.element.to_string(),
                expected: "f32, uint8 or int8".into(),
            });
        };
        Ok(Tensor { buffer, element, shape: layout.shape(), bytes, quantization })
    }

    fn match_manifest(&self, manifest: &Manifest) -> Result<()> {
        let differs = |what: &str, found: String, expected: String| Error::Shape {
            model: self.name.clone(),
            what: what.to_owned(),
            found,
            expected,
        };
        let describe = |shape: &[usize], element: Element| format!("{element:?} {shape:?}");
        if let Some(input) = &self.input {
            let found = describe(&input.shape, input.element);
            let expected = describe(&manifest.input.shape, manifest.input.element);
            if found != expected {
                return Err(differs("the input", found, expected));
            }
        }
        for output in &manifest.outputs {
            self.output(manifest, &output.name)?;
        }
        Ok(())
    }

    /// The number of the output that the manifest calls `name`.
    pub fn output(&self, manifest: &Manifest, name: &str) -> Result<usize> {
        let missing = |expected: String| Error::Shape {
            model: self.name.clone(),
            what: format!("the output `{name}`"),
            found: self
                .outputs
                .iter()
                .map(|t| format!("{:?} {:?}", t.element, t.shape))
                .collect::<Vec<_>>()
                .join(", "),
            expected,
        };
        let wanted = manifest
            .outputs
            .iter()
            .find(|output| output.name == name)
            .ok_or_else(|| missing("not there".into()))?;
        self.outputs
            .iter()
            .position(|tensor| tensor.shape == wanted.shape && tensor.element == wanted.element)
            .ok_or_else(|| missing(format!("{:?} {:?}", wanted.element, wanted.shape)))
    }

    /// Lets `fill` write the input, then runs the model.
    ///
    /// # Panics
    /// If `T` is not the input's element, which the manifest names.
    pub fn run<T: Number>(&mut self, fill: impl FnOnce(&mut [T])) -> Result<()> {
        let Some(input) = &self.input else { return Ok(()) };
        assert!(input.element == T::ELEMENT, "{}: the input holds {:?}", self.name, input.element);
        let api = &self.environment.interface;
        let mut memory = null_mut();
        let mut inputs = [input.buffer];
        let mut outputs: [Pointer; 8] = [null_mut(); 8];
        let count = self.outputs.len().min(outputs.len());
        for (slot, tensor) in outputs.iter_mut().zip(&self.outputs) {
            *slot = tensor.buffer;
        }
        // SAFETY: a locked buffer is `bytes` long, aligned for any element, and ours until it is
        // unlocked; run is given exactly the buffers that were made for this model.
        unsafe {
            let status = (api.LiteRtLockTensorBuffer)(input.buffer, &raw mut memory, LOCK_WRITE);
            self.check(status, "locking the input")?;
            fill(std::slice::from_raw_parts_mut(memory.cast(), input.bytes / size_of::<T>()));
            self.check((api.LiteRtUnlockTensorBuffer)(input.buffer), "unlocking the input")?;
            let status = (api.LiteRtRunCompiledModel)(
                self.compiled,
                0,
                1,
                inputs.as_mut_ptr(),
                count,
                outputs.as_mut_ptr(),
            );
            self.check(status, "running")
        }
    }

    /// Copies output `index` into `values` as floats, with the file's own quantization undone.
    pub fn read(&mut self, index: usize, values: &mut Vec<f32>) -> Result<()> {
        values.clear();
        let Quantization { scale, zero_point } = self.outputs[index].quantization;
        match self.outputs[index].element {
            Element::F32 => self.with_output(index, |all: &[f32]| values.extend_from_slice(all)),
            Element::Uint8 => self.with_output(index, |all: &[u8]| {
                values.extend(all.iter().map(|&v| (i64::from(v) - zero_point) as f32 * scale));
            }),
            Element::Int8 => self.with_output(index, |all: &[i8]| {
                values.extend(all.iter().map(|&v| (i64::from(v) - zero_point) as f32 * scale));
            }),
        }
    }

    fn with_output<T: Number>(&mut self, index: usize, read: impl FnOnce(&[T])) -> Result<()> {
        let api = &self.environment.interface;
        let tensor = &self.outputs[index];
        let mut memory = null_mut();
        // SAFETY: as in `run`; the element type was matched by the caller.
        unsafe {
            let status = (api.LiteRtLockTensorBuffer)(tensor.buffer, &raw mut memory, LOCK_READ);
            self.check(status, "locking an output")?;
            read(std::slice::from_raw_parts(memory.cast_const().cast(), tensor.bytes / size_of::<T>()));
            self.check((api.LiteRtUnlockTensorBuffer)(tensor.buffer), "unlocking an output")
        }
    }
}
